"""The console: the whole farm at a glance, as a page of the gateway. Built from source/ by npm."""
