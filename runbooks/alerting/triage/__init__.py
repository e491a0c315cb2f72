"""What an incident probably is: rules first, then a model where the customer allows it."""
