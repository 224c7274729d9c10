/* Looks at /proc/self/exe and tries the two places. */
#include "cli/program.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/report.h"

static int own_directory(char dir[static PATH_MAX])
{
	ssize_t n = readlink("/proc/self/exe", dir, PATH_MAX - 1);
	char *slash;

	if (n < 0)
		return fail(errno, "/proc/self/exe cannot be read (%s): lazyrun needs /proc to be mounted",
			    strerror(errno));
	dir[n] = '\0';
	slash = strrchr(dir, '/');
	if (!slash)
		return fail(EINVAL, "/proc/self/exe is '%s', no path", dir);
	*slash = '\0';
	return 0;
}

/* Beside this executable, or at `installed` relative to its directory. */
static int find(const char *name, const char *installed, char ret[static PATH_MAX])
{
	char dir[PATH_MAX];
	int r = own_directory(dir);

	if (r < 0)
		return r;
	if (snprintf(ret, PATH_MAX, "%s/%s", dir, name) < PATH_MAX && access(ret, X_OK) == 0)
		return 0;
	if (snprintf(ret, PATH_MAX, "%s/%s%s", dir, installed, name) < PATH_MAX && access(ret, X_OK) == 0)
		return 0;
	return fail(ENOENT, "the program %s is neither in %s nor in %s/%s: is lazyrun installed completely?",
		    name, dir, dir, installed);
}

int program_find_image(char ret[static PATH_MAX])
{
	return find("lazyrun-image", "../libexec/lazyrun/", ret);
}

int program_find_lazyrun(char ret[static PATH_MAX])
{
	return find("lazyrun", "../../bin/", ret);
}
