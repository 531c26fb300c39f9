"""What a run says about itself: counts, accuracy, cost."""
