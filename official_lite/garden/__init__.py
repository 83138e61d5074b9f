"""What needs tf-models-official itself (the extra `garden`): comparisons with it."""
