/* -v, --tmpfs and --ulimit: what is taken has an absolute place in the container. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/report.h"
#include "cli/volume.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char said[REPORT_TEXT_SIZE], *text = strndup((const char *)data, size);
	struct config c;

	config_init(&c);
	report_capture(said);
	if (text) {
		volume_add(&c, text);
		volume_add_tmpfs(&c, text);
		volume_add_ulimit(&c, text);
		for (size_t i = 0; i < c.n_mounts; i++)
			assert(c.mounts[i].destination[0] == '/');
		for (size_t i = 0; i < c.n_rlimits; i++)
			assert(c.rlimits[i].soft <= c.rlimits[i].hard);
	}
	report_capture(NULL);
	config_free(&c);
	free(text);
	return 0;
}
