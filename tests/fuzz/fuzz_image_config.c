/* An image config: every list of what is accepted ends, and every text is one. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/report.h"
#include "format/image_config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct image_config *c = NULL;
	char said[REPORT_TEXT_SIZE];

	report_capture(said);
	if (image_config_parse(data, size, "fuzzed", &c) == 0) {
		char **const lists[] = {c->env, c->entrypoint, c->cmd, c->volumes, c->exposed_ports, c->labels};
		size_t total = strlen(c->user) + strlen(c->working_dir) + strlen(c->stop_signal) + strlen(c->created);

		for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
			for (char **s = lists[i]; *s; s++)
				total += strlen(*s);
		assert(total <= size);
		for (size_t i = 0; i < c->n_diff_ids; i++)
			assert(c->diff_ids[i].algorithm != DIGEST_NONE);
	} else {
		assert(said[0]);
	}
	image_config_free(&c);
	report_capture(NULL);
	return 0;
}
