/* lazyrun-image: the commands that talk to the server, and the server; executed by lazyrun. */
#include <errno.h>

#include "base/report.h"
#include "cli/command_table.h"

static const struct command_function functions[] = {
	{"cat", cmd_cat},
	{"check", cmd_check},
	{"convert", cmd_convert},
	{"doctor", cmd_doctor},
	{"evict", cmd_evict},
	{"gc", cmd_gc},
	{"images", cmd_images},
	{"index", cmd_index},
	{"inspect", cmd_inspect},
	{"ls", cmd_ls},
	{"mount", cmd_mount},
	{"pull", cmd_pull},
	{"rmi", cmd_rmi},
	{"serve", cmd_serve},
	{"status", cmd_status},
	{"stop-server", cmd_stop_server},
	{"umount", cmd_umount},
	{"unshare", cmd_unshare},
	{"version", cmd_version},
	{NULL, NULL},
};

int main(int argc, char **argv)
{
	const struct command *c = argc > 1 ? command_find(argv[1]) : NULL;

	report_init("lazyrun");
	if (!c || (c->home != COMMAND_IMAGE && c->home != COMMAND_HIDDEN))
		return command_exit(fail(EINVAL, "lazyrun-image is a part of lazyrun; call `lazyrun` instead"));
	return command_exit(command_call(functions, argc - 1, argv + 1));
}
