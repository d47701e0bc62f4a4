"""The suite on one machine: embedded servers, all services, one command."""
