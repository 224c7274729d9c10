/* Counted over a tenth of a second; a busy link counts at once, one that is not fully used lowers the rate step by step. */
#include "fetch/link_rate.h"

#include "base/clock.h"

#define COUNT_MS 100

void link_rate_count(struct link_rate *l, uint64_t bytes)
{
	int64_t now = clock_ms(), ms = now - l->since;

	l->bytes += bytes;
	if (ms < COUNT_MS)
		return;
	if (ms < 4 * COUNT_MS && l->bytes / (uint64_t)ms > l->rate / 4 * 3)
		l->rate = l->bytes / (uint64_t)ms;
	else if (ms < 4 * COUNT_MS)
		l->rate = l->rate / 4 * 3;
	l->since = now;
	l->bytes = 0;
}

uint64_t link_rate_in(const struct link_rate *l, unsigned int ms)
{
	return l->rate * ms;
}
