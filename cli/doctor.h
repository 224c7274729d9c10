/* doctor: what this machine gives lazyrun, check by check, and how to get what is missing.
 *
 * Ownership  The report is the caller's; texts are kept in it.
 * Units      -
 * Errors     A check that cannot be made is itself a finding; nothing here fails.
 * Threads    One thread: some checks fork.
 * Source     KERNEL.md of the design; user_namespaces(7), subuid(5), fuse's and the kernel's sysctls.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum doctor_level {
	DOCTOR_OK,
	DOCTOR_WARN, /* works, but slower, or with less */
	DOCTOR_BAD,  /* lazyrun does not work without */
};

struct doctor_check {
	const char *name;
	enum doctor_level level;
	char text[256];	  /* what was found */
	char remedy[320]; /* how to get it; "" when all is well */
};

#define DOCTOR_CHECKS_MAX 32

struct doctor_report {
	struct doctor_check checks[DOCTOR_CHECKS_MAX];
	size_t n_checks;
};

/* Adds one; the remedy is set afterwards, by doctor_remedy(), on the newest. */
void doctor_add(struct doctor_report *r, const char *name, enum doctor_level level, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
void doctor_remedy(struct doctor_report *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The first line of a file of /proc or /sys, without its newline; false: it cannot be read. */
bool doctor_read_line(const char *path, char *ret, size_t size);

/* doctor_kernel.c: kernel, /dev/fuse, io_uring, cgroups, seccomp, limits. */
void doctor_kernel(struct doctor_report *r);

/* doctor_user.c: what an ordinary user needs: ranges, namespaces, mounts inside them. */
void doctor_user(struct doctor_report *r);

/* doctor_store.c: the file system of the store. */
void doctor_store(struct doctor_report *r);
