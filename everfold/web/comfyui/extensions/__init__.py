"""Routes that belong to extensions of servers, such as that of krita's plugin."""
