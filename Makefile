.PHONY: check docs test

check:
	ruff check .
	ruff format --check .
	mypy
	lint-imports

test:
	pytest

# The site, in site/: pages stay where they are in the repository, so that links work in both places.
docs:
	mkdir -p build/pages
	ln -sfn $(addprefix $(CURDIR)/,README.md CONTRIBUTING.md cluster configs docs) build/pages
	mkdocs build --strict
