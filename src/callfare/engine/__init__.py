"""What both façades share: requests are checked, commands built, answers shaped. Nothing here waits for a caller."""
