/* Three digits are enough to read. */
#include "cli/human.h"

#include <inttypes.h>
#include <stdio.h>

const char *human_bytes(uint64_t bytes, char ret[static HUMAN_SIZE])
{
	static const char *const units[] = {"kB", "MB", "GB", "TB", "PB", "EB"};
	double value = (double)bytes / 1000;
	size_t unit = 0;

	if (bytes < 1000) {
		snprintf(ret, HUMAN_SIZE, "%" PRIu64 " B", bytes);
		return ret;
	}
	while (value >= 999.95 && unit + 1 < sizeof(units) / sizeof(units[0])) {
		value /= 1000;
		unit++;
	}
	snprintf(ret, HUMAN_SIZE, "%.*f %s", value < 99.95 ? 1 : 0, value, units[unit]);
	return ret;
}

const char *human_duration(uint64_t seconds, char ret[static HUMAN_SIZE])
{
	if (seconds < 60)
		snprintf(ret, HUMAN_SIZE, "%" PRIu64 " s", seconds);
	else if (seconds < 3600)
		snprintf(ret, HUMAN_SIZE, "%" PRIu64 " min %" PRIu64 " s", seconds / 60, seconds % 60);
	else if (seconds < 360000)
		snprintf(ret, HUMAN_SIZE, "%" PRIu64 " h %" PRIu64 " min", seconds / 3600, seconds / 60 % 60);
	else
		snprintf(ret, HUMAN_SIZE, "%" PRIu64 " days", seconds / 86400);
	return ret;
}

const char *human_age(uint64_t seconds, char ret[static HUMAN_SIZE])
{
	static const struct {
		uint64_t seconds;
		const char *name;
	} units[] = {{31556952, "year"}, {2629746, "month"}, {604800, "week"}, {86400, "day"},
		     {3600, "hour"},	 {60, "minute"},     {1, "second"}};

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		uint64_t n = seconds / units[i].seconds;

		/* Two of a unit say more than one of the next: "36 hours", "10 days". */
		if (n < 2 && units[i].seconds > 1)
			continue;
		snprintf(ret, HUMAN_SIZE, "%" PRIu64 " %s%s", n, units[i].name, n == 1 ? "" : "s");
		return ret;
	}
	return ret;
}
