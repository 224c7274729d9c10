/* lazyrun-image with the command serve alone, and whatever fetcher is linked to it. */
#include <string.h>

#include "base/report.h"
#include "cli/command_table.h"

int main(int argc, char **argv)
{
	int r = cmd_serve(argc - 1, argv + 1);

	if (r < 0 && !report_any())
		fail(-r, "%s", strerror(-r));
	return r < 0 ? 1 : r;
}
