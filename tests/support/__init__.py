"""Stand-ins and measuring tools for the tests and benches."""
