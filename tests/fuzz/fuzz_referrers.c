/* A list of referrers as a hostile registry may send it. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/report.h"
#include "fetch/referrers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct referrers *l = calloc(1, sizeof(*l));
	char text[REPORT_TEXT_SIZE];

	if (!l)
		return 0;
	report_capture(text);
	/* Twice: as two pages of one list. */
	if (referrers_parse(data, size, "x", NULL, l) == 0)
		referrers_parse(data, size, "x", NULL, l);
	report_capture(NULL);
	assert(l->n <= LIMIT_REFERRERS);
	for (size_t i = 0; i < l->n; i++) {
		assert(digest_size(&l->list[i].digest));
		assert(strlen(l->list[i].media_type) + strlen(l->list[i].artifact_type) < size);
		assert(strlen(referrers_annotation(&l->list[i], "a")) < size);
	}
	referrers_free(&l);
	return 0;
}
