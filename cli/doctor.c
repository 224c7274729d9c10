/* The report's own functions. */
#include "cli/doctor.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"

void doctor_add(struct doctor_report *r, const char *name, enum doctor_level level, const char *fmt, ...)
{
	struct doctor_check *c;
	va_list args;

	if (r->n_checks == DOCTOR_CHECKS_MAX)
		return;
	c = &r->checks[r->n_checks++];
	*c = (struct doctor_check){.name = name, .level = level};
	va_start(args, fmt);
	vsnprintf(c->text, sizeof(c->text), fmt, args);
	va_end(args);
}

void doctor_remedy(struct doctor_report *r, const char *fmt, ...)
{
	struct doctor_check *c = &r->checks[r->n_checks - 1];
	va_list args;

	va_start(args, fmt);
	vsnprintf(c->remedy, sizeof(c->remedy), fmt, args);
	va_end(args);
}

bool doctor_read_line(const char *path, char *ret, size_t size)
{
	_cleanup_(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, ret, size - 1);

	if (n < 0)
		return false;
	ret[n] = '\0';
	ret[strcspn(ret, "\n")] = '\0';
	return true;
}
