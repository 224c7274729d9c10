/* The waits double, with jitter so that many clients do not come back together. */
#include "fetch/retry.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#include "base/limits.h"
#include "fetch/http_header.h"

#define BASE_MS 500u
#define STEP_MAX_MS 10000u
#define ASKED_MAX_SECONDS 60u /* Retry-After beyond this is told to the user instead */
#define TOTAL_MAX_MS 90000u /* from the first try on, the tries themselves included */

static bool passes_by_itself(const struct retry *r, const struct transport_reply *reply)
{
	switch (reply->failure) {
	case TRANSPORT_OK:
		return reply->status == 408 || reply->status == 429 || reply->status == 500 ||
		       reply->status == 502 || reply->status == 503 || reply->status == 504;
	case TRANSPORT_TIMEOUT:
	case TRANSPORT_CUT:
	case TRANSPORT_OTHER:
		return true;
	case TRANSPORT_UNKNOWN_HOST:
	case TRANSPORT_REFUSED:
	case TRANSPORT_PROXY:
		return r->patient;
	case TRANSPORT_NOT_TLS:
	case TRANSPORT_TLS:
	case TRANSPORT_CERTIFICATE:
	case TRANSPORT_PROTOCOL:
	case TRANSPORT_SIZE:
	case TRANSPORT_LOCAL:
	case TRANSPORT_CANCELLED:
		return false;
	}
	return false;
}

static unsigned int base_ms(void)
{
	const char *text = getenv("LAZYRUN_RETRY_BASE_MS"); /* tests do not want to wait */
	long ms = text ? strtol(text, NULL, 10) : 0;

	static_assert(LIMIT_RETRIES < 16, "a wait is shifted by it");

	return ms > 0 && ms < (long)BASE_MS ? (unsigned int)ms : BASE_MS;
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void retry_begin(struct retry *r, bool patient)
{
	*r = (struct retry){.patient = patient, .began_ms = now_ms()};
}

/* How long to wait; UINT64_MAX when the server asks for longer than we want to. */
static uint64_t choose_wait(const struct retry *r, const struct transport_reply *reply)
{
	uint64_t ms = (uint64_t)base_ms() << r->n, asked; /* n <= LIMIT_RETRIES */
	uint32_t random = 0;

	if (ms > STEP_MAX_MS)
		ms = STEP_MAX_MS;
	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) == sizeof(random))
		ms = ms / 2 + random % (ms / 2 + 1);
	if (reply->failure != TRANSPORT_OK || !reply->retry_after[0] ||
	    http_header_retry_after(reply->retry_after, time(NULL), &asked) < 0)
		return ms;
	if (asked > ASKED_MAX_SECONDS)
		return UINT64_MAX;
	return asked * 1000 > ms ? asked * 1000 : ms;
}

int retry_wait(struct retry *r, const struct transport_reply *reply, struct transport_watch *watch)
{
	uint64_t ms;
	int slept;

	if (!passes_by_itself(r, reply) || r->n >= LIMIT_RETRIES)
		return 0;
	ms = choose_wait(r, reply);
	if (ms == UINT64_MAX || now_ms() - r->began_ms + ms > TOTAL_MAX_MS)
		return 0;
	r->n++;
	slept = transport_sleep(watch, (unsigned int)ms);
	return slept < 0 ? slept : 1;
}
