"""The reliability scoreboard: machines that try to break what Kehu claims, and what they found."""
