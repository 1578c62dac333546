"""bookserve's HTTP routes as an application of Ray Serve, for clusters that have Ray Serve already.

``serve run rayserve.app:build models=/srv/models`` needs the package ``ray[serve]`` on every node.
"""
