"""What customers are worth to us: kept from the events of sales, scored by a job."""
