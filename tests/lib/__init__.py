# SPDX-License-Identifier: Apache-2.0
"""What the tests on real parts are made of: a Ceph cluster, a dockerd, the plugin, and the
accounting that finds what a test left behind."""
