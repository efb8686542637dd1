"""``make soak``: what a user of the commands may meet on a bad day, done many times with seeds."""
