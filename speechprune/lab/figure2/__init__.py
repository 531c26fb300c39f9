"""The audio tokens that two methods keep, beside the text that asks for them: the paper's Fig. 2."""
