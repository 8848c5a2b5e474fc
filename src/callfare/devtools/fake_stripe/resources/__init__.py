"""The API's resources, a file for each family."""
