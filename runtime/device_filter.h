/* device_filter: only docker's default devices may be opened or made in a cgroup.
 *
 * Ownership  Nothing is kept; the kernel holds the rules with the group.
 * Units      -
 * Errors     Reported.
 * Threads    -
 * Source     runtime-spec config-linux.md "Default Devices"; docker's default device cgroup rules;
 *            BPF_PROG_TYPE_CGROUP_DEVICE (Linux 4.15), struct bpf_cgroup_dev_ctx.
 */
#pragma once

/* The v1 "devices" controller's directory. */
int device_filter_v1(int dir_fd);

/* A v2 directory: a small BPF program that ends with the group. */
int device_filter_v2(int dir_fd);
