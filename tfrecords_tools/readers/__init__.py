"""One reader per dataset, each yielding `Face` records in the order its owner ships them."""
