module bootstrap.local/images/nodenet

go 1.26.0
