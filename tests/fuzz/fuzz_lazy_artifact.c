/* Parses an artifact's manifest; what was taken is built, and parsed again says the same. */
#include <stdlib.h>
#include <string.h>

#include "base/report.h"
#include "format/lazy_artifact.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lazy_artifact *a = NULL, *again = NULL;
	struct bytes first = {0}, second = {0};
	char text[REPORT_TEXT_SIZE];

	report_capture(text);
	if (lazy_artifact_parse(data, size, "artifact", &a) == 0) {
		lazy_artifact_choose(a, "[\"sh\",\"-c\"]", a->n_packs ? a->packs[0].command : NULL);
		if (lazy_artifact_build(a, &first) < 0 ||
		    (first.size <= LIMIT_MANIFEST_SIZE &&
		     (lazy_artifact_parse(first.data, first.size, "artifact", &again) < 0 ||
		      lazy_artifact_build(again, &second) < 0 || first.size != second.size ||
		      memcmp(first.data, second.data, first.size) != 0)))
			abort();
	}
	report_capture(NULL);
	bytes_free(&first);
	bytes_free(&second);
	lazy_artifact_free(&a);
	lazy_artifact_free(&again);
	return 0;
}
