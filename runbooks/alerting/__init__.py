"""What becomes of an alert between the monitor's word and the customer's group."""
