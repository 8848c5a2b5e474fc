"""Buying credits: what is for sale, and what a sale must at least bring in."""
