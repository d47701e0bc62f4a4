"""What every service of the suite needs and no service owns."""
