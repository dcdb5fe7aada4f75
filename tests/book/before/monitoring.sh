# As in the repository.
ln -s "$REPOSITORY/monitoring" monitoring
