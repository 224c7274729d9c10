/* The table, and what is printed from it. */
#include "cli/command_table.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/report.h"

static const struct command commands[] = {
	{"run", COMMAND_RUNTIME, "[FLAGS] IMAGE [CMD...]", "start a container; the word run may be left out",
	 "lazyrun debian\n"
	 "lazyrun python:3.12 python3 -c 'print(6*7)'\n"
	 "lazyrun run -v $PWD:/src -w /src --rm gcc:13 make\n"
	 "lazyrun run --pull=always --platform linux/arm64 alpine uname -m"},
	{"pull", COMMAND_IMAGE, "[FLAGS] IMAGE...", "fetch an image into the store",
	 "lazyrun pull debian:12\n"
	 "lazyrun pull --plain-http registry.lan:5000/app"},
	{"images", COMMAND_IMAGE, "[FLAGS]", "list the images in the store",
	 "lazyrun images\n"
	 "lazyrun images --format '{{.Reference}} {{.Size}}'\n"
	 "lazyrun images --json | jq -r '.[].reference'"},
	{"rmi", COMMAND_IMAGE, "IMAGE...", "remove images and what only they used",
	 "lazyrun rmi debian:12"},
	{"evict", COMMAND_IMAGE, "IMAGE...", "drop an image's bytes that can be fetched again by range",
	 "lazyrun evict registry.lan/app"},
	{"mount", COMMAND_IMAGE, "[FLAGS] IMAGE DIR", "show an image read-only at DIR",
	 "mkdir tree && lazyrun mount debian tree\n"
	 "lazyrun unshare ls tree        (as an ordinary user)"},
	{"umount", COMMAND_IMAGE, "DIR", "end a mount made by mount",
	 "lazyrun umount tree"},
	{"unshare", COMMAND_IMAGE, "[CMD...]", "a command (or a shell) where an ordinary user's mounts are seen",
	 "lazyrun unshare\n"
	 "lazyrun unshare tar -C tree -cf - . | wc -c\n"
	 "lazyrun unshare -- ls -l tree"},
	{"inspect", COMMAND_IMAGE, "[FLAGS] IMAGE", "show what an image is, and what of it is here",
	 "lazyrun inspect debian\n"
	 "lazyrun inspect --format '{{.Digest}} {{.Architecture}}' debian\n"
	 "lazyrun inspect --config debian | jq .config.Env\n"
	 "lazyrun inspect --raw debian | sha256sum"},
	{"index", COMMAND_IMAGE, "[FLAGS] IMAGE [-- CMD...]", "make an image lazy without changing it: an artifact beside it",
	 "lazyrun index --push registry.lan/app\n"
	 "lazyrun index --push --record registry.lan/py -- python3 -c 'import numpy'\n"
	 "lazyrun index --push --add-record --seconds 5 registry.lan/redis -- redis-server\n"
	 "lazyrun index --push --format soci registry.lan/app"},
	{"convert", COMMAND_IMAGE, "[FLAGS] --to FORMAT IMAGE DESTINATION", "write an image anew, its layers readable in their middle",
	 "lazyrun convert --to zstd:chunked registry.lan/app registry.lan/app:chunked\n"
	 "lazyrun convert --to estargz debian oci:./layout:debian"},
	{"ls", COMMAND_IMAGE, "[FLAGS] IMAGE [PATH]", "list a directory inside an image",
	 "lazyrun ls debian /etc\n"
	 "lazyrun ls -lR debian /usr/share/doc"},
	{"cat", COMMAND_IMAGE, "[FLAGS] IMAGE PATH...", "write a file inside an image to standard output",
	 "lazyrun cat debian /etc/os-release"},
	{"check", COMMAND_IMAGE, "[--dry-run] [--json]", "verify everything in the store, and drop what is wrong",
	 "lazyrun check\n"
	 "lazyrun check --dry-run --json | jq .problems"},
	{"gc", COMMAND_IMAGE, "[--dry-run] [--json]", "remove from the store what nothing needs",
	 "lazyrun gc\n"
	 "lazyrun gc --dry-run"},
	{"status", COMMAND_IMAGE, "[--json]", "show the server's processes, images and bytes",
	 "lazyrun status\n"
	 "lazyrun status --json | jq .bytes_fetched"},
	{"stop-server", COMMAND_IMAGE, "[--force]", "end the server (the next command starts it again)",
	 "lazyrun stop-server"},
	{"doctor", COMMAND_IMAGE, "[--json]", "check what this machine gives lazyrun, and how to get the rest",
	 "lazyrun doctor"},
	{"version", COMMAND_IMAGE, "", "show the versions of lazyrun and of its libraries", NULL},
	{"help", COMMAND_RUNTIME, "[COMMAND]", "this text, or a command's own", "lazyrun help run"},
	{"serve", COMMAND_HIDDEN, "[--replace]", "the server; every command starts it when it is needed",
	 "lazyrun serve --replace        (the running server goes on as this program)"},
	/* Planned; in the order of issues to come. */
	{"create", COMMAND_PLANNED, "", "OCI runtime: create a container from a bundle", NULL},
	{"start", COMMAND_PLANNED, "", "OCI runtime: start a created container", NULL},
	{"state", COMMAND_PLANNED, "", "OCI runtime: a container's state", NULL},
	{"kill", COMMAND_PLANNED, "", "OCI runtime: send a signal", NULL},
	{"delete", COMMAND_PLANNED, "", "OCI runtime: remove a container", NULL},
	{"exec", COMMAND_PLANNED, "", "another process in a container", NULL},
	{"pause", COMMAND_PLANNED, "", "freeze a container", NULL},
	{"resume", COMMAND_PLANNED, "", "thaw a container", NULL},
	{"ps", COMMAND_PLANNED, "", "processes of a container", NULL},
	{"list", COMMAND_PLANNED, "", "list containers", NULL},
	{"update", COMMAND_PLANNED, "", "change a container's limits", NULL},
	{"events", COMMAND_PLANNED, "", "a container's statistics", NULL},
	{"features", COMMAND_PLANNED, "", "what the runtime can do, as runtime-spec says it", NULL},
	{"spec", COMMAND_PLANNED, "", "write a config.json to start from", NULL},
	{"checkpoint", COMMAND_PLANNED, "", "save a running container", NULL},
	{"restore", COMMAND_PLANNED, "", "go on with a saved container", NULL},
	{"logs", COMMAND_PLANNED, "", "a container's output", NULL},
	{"commit", COMMAND_PLANNED, "", "make a layer of a container's changes", NULL},
	{"diff", COMMAND_PLANNED, "", "a container's changes", NULL},
	{"copy", COMMAND_PLANNED, "", "copy an image between places", NULL},
	{"login", COMMAND_PLANNED, "", "keep a registry's password", NULL},
	{"logout", COMMAND_PLANNED, "", "forget a registry's password", NULL},
	{"tags", COMMAND_PLANNED, "", "list a repository's tags", NULL},
	{"sync", COMMAND_PLANNED, "", "copy many images", NULL},
	{"save", COMMAND_PLANNED, "", "write an image to an archive", NULL},
	{"load", COMMAND_PLANNED, "", "read an image from an archive", NULL},
	{"tag", COMMAND_PLANNED, "", "give an image another name", NULL},
	{"push", COMMAND_PLANNED, "", "send an image to a registry", NULL},
	{"unpack", COMMAND_PLANNED, "", "write an image's tree to a directory", NULL},
	{"bundle", COMMAND_PLANNED, "", "make an OCI bundle of an image", NULL},
	{"repack", COMMAND_PLANNED, "", "make a layer of a changed bundle", NULL},
	{"config", COMMAND_PLANNED, "", "change an image's config", NULL},
	{"validate", COMMAND_PLANNED, "", "check an image or bundle against its specification", NULL},
	{"verify", COMMAND_PLANNED, "", "check an image's digests and signatures", NULL},
	{"referrers", COMMAND_PLANNED, "", "list what refers to an image", NULL},
	{"history", COMMAND_PLANNED, "", "how an image was made", NULL},
	{NULL, COMMAND_PLANNED, NULL, NULL, NULL},
};

const struct command *command_find(const char *word)
{
	for (const struct command *c = commands; c->name; c++)
		if (strcmp(c->name, word) == 0)
			return c;
	return NULL;
}

const struct command *command_all(void)
{
	return commands;
}

static void print_indented(const char *lines)
{
	while (*lines) {
		size_t n = strcspn(lines, "\n");

		printf("  %.*s\n", (int)n, lines);
		lines += n + (lines[n] == '\n');
	}
}

void command_print_overview(void)
{
	size_t column = 0;

	printf("lazyrun starts containers while their images are still in the registry.\n\n"
	       "Usage: lazyrun [GLOBAL FLAGS] [run] [FLAGS] IMAGE [CMD...]\n"
	       "       lazyrun [GLOBAL FLAGS] COMMAND ...\n\n"
	       "Commands:\n");
	for (const struct command *c = commands; c->name; c++)
		if (c->home == COMMAND_RUNTIME || c->home == COMMAND_IMAGE)
			printf("  %-12s %s\n", c->name, c->help);
	printf("\nPlanned (they answer \"not yet\"):");
	for (const struct command *c = commands; c->name; c++) {
		if (c->home != COMMAND_PLANNED)
			continue;
		if (column == 0 || column + strlen(c->name) > 76) {
			printf("\n ");
			column = 1;
		}
		column += (size_t)printf(" %s", c->name);
	}
	printf("\n\nGlobal flags, before the command:\n"
	       "  --store DIR     where images are kept; also LAZYRUN_STORE\n"
	       "  --run-dir DIR   the server's socket and mounts; also LAZYRUN_RUN_DIR\n"
	       "  --timeout SEC   how long a silent server is waited for; also LAZYRUN_TIMEOUT\n"
	       "  --help          this text\n"
	       "  --version       the version alone\n\n"
	       "Examples:\n"
	       "  lazyrun debian                     a shell in Debian\n"
	       "  lazyrun redis redis-server -v      a command in an image\n"
	       "  lazyrun ls debian /etc             look without running\n"
	       "  lazyrun run list                   an image that has the name of a command\n\n"
	       "`lazyrun help COMMAND` says more and shows examples. `lazyrun doctor` checks this machine.\n");
}

void command_print_help(const char *name, const struct option_spec *specs)
{
	const struct command *c = command_find(name);

	if (!c)
		return;
	printf("Usage: lazyrun %s%s%s\n\n%c%s.\n", c->name, *c->usage ? " " : "", c->usage,
	       c->help[0] >= 'a' && c->help[0] <= 'z' ? c->help[0] - 'a' + 'A' : c->help[0], c->help + 1);
	if (specs && specs->name) {
		printf("\nFlags:\n");
		options_print(specs);
	}
	if (c->examples) {
		printf("\nExamples:\n");
		print_indented(c->examples);
	}
}

int command_options(const struct option_rules *rules, int argc, char **argv, struct options_result *ret)
{
	int r = options_parse(rules, argc, argv, ret);

	if (r < 0)
		return r;
	if (ret->help) {
		command_print_help(rules->command, rules->specs);
		return 1;
	}
	return 0;
}

int command_call(const struct command_function *functions, int argc, char **argv)
{
	for (const struct command_function *f = functions; f->name; f++)
		if (strcmp(f->name, argv[0]) == 0)
			return f->function(argc, argv);
	return fail(ENOSYS, "%s: this build of lazyrun does not have this command", argv[0]);
}

int command_exit(int r)
{
	if (fflush(stdout) != 0 && r >= 0)
		r = fail(errno, "standard output cannot be written: %s", strerror(errno));
	if (r < 0 && !report_any())
		fail(-r, "%s", strerror(-r));
	return r < 0 ? COMMAND_EXIT_FAILED : r;
}
