"""What several test files share: tiny models, sound files, servers, job runs."""
