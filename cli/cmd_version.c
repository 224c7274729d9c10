/* `lazyrun version`: ours, and those of the libraries and the kernel. */
#define FUSE_USE_VERSION 35 /* fuse.h insists */

#include <stdio.h>
#include <sys/utsname.h>

#include <curl/curl.h>
#include <fuse.h>
#include <isa-l.h>
#include <json-c/json_c_version.h>
#include <openssl/crypto.h>
#include <zstd.h>

#include "cli/command_table.h"

int cmd_version(int argc, char **argv)
{
	const struct option_rules rules = {.command = "version"};
	struct options_result o;
	struct utsname u;
	int r = command_options(&rules, argc, argv, &o);

	if (r != 0)
		return r < 0 ? r : 0;
	printf("lazyrun %s\n", LAZYRUN_VERSION);
	if (uname(&u) == 0)
		printf("kernel  %s %s\n", u.release, u.machine);
	printf("curl    %s\n", curl_version());
	printf("openssl %s\n", OpenSSL_version(OPENSSL_VERSION));
	printf("zstd    %s\n", ZSTD_versionString());
	printf("isa-l   %d.%d.%d\n", ISAL_MAJOR_VERSION, ISAL_MINOR_VERSION, ISAL_PATCH_VERSION);
	printf("json-c  %s\n", json_c_version());
	printf("fuse    %s\n", fuse_pkgversion());
	return 0;
}
