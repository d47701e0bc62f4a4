"""The one way in: REST derived from the contracts, sign-in at the edge, customer 360° and live updates."""
