"""What writes files of the repository out of both packages, which never import each other."""
