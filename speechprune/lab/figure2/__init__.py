"""The paper's Fig. 2: a t-SNE plot of the audio tokens that two methods keep, with the question's tokens."""
