module bootstrap.local/images/git-server

go 1.26.0
