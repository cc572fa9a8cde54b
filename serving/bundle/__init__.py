"""The bundle: what lies in an export beside the SavedModel, and its check."""
