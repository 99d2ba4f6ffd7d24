module bootstrap.local/images/pause

go 1.26.0
