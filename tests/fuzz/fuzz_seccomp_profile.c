/* A profile that somebody wrote: parsed and checked, and compiled when it is short (libseccomp is slow). */
#include <stddef.h>
#include <stdint.h>

#include "base/report.h"
#include "runtime/seccomp_profile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[REPORT_TEXT_SIZE];
	struct bytes program = {0};
	uint32_t flags;

	report_capture(text);
	if (seccomp_profile_check(data, size, "fuzz") == 0 && size < 1024)
		seccomp_profile_compile(data, size, "fuzz", 0, &program, &flags);
	report_capture(NULL);
	bytes_free(&program);
	return 0;
}
