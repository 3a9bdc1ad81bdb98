"""The world in a browser: the page that plays it wholly in a tab, the folder that any host can serve, and the runtime
that is fetched from npm."""
