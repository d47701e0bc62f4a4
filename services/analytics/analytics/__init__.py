"""Facts from the events of all services, and reports over them."""
