/* Fixed widths, then an optional fraction and the zone. */
#include "base/rfc3339.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static int digits(const char **p, const char *end, size_t n, int64_t *ret)
{
	int64_t v = 0;

	for (; n > 0; n--, (*p)++) {
		if (*p == end || **p < '0' || **p > '9')
			return -EBADMSG;
		v = v * 10 + (**p - '0');
	}
	*ret = v;
	return 0;
}

static int literal(const char **p, const char *end, char c)
{
	if (*p == end || **p != c)
		return -EBADMSG;
	(*p)++;
	return 0;
}

/* Days since 1970-01-01 in the proleptic Gregorian calendar; years begin in March, so that leap days are last. */
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
	int64_t y = month <= 2 ? year + 399 : year + 400; /* >= 0: 400 years are a whole cycle of 146097 days */
	int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;

	return y * 365 + y / 4 - y / 100 + y / 400 + day_of_year - 719468 - 146097;
}

static int parse_fraction(const char **p, const char *end, uint32_t *ret)
{
	uint32_t nsec = 0, unit = 100000000;

	*ret = 0;
	if (*p == end || **p != '.')
		return 0;
	(*p)++;
	for (; *p != end && **p >= '0' && **p <= '9'; (*p)++, unit /= 10)
		nsec += unit * (uint32_t)(**p - '0');
	*ret = nsec;
	return 0;
}

static int parse_zone(const char **p, const char *end, int64_t *ret)
{
	int64_t sign, hours, minutes;

	*ret = 0;
	if (literal(p, end, 'Z') == 0)
		return 0;
	if (literal(p, end, '+') == 0)
		sign = 1;
	else if (literal(p, end, '-') == 0)
		sign = -1;
	else
		return -EBADMSG;
	if (digits(p, end, 2, &hours) < 0 || literal(p, end, ':') < 0 || digits(p, end, 2, &minutes) < 0)
		return -EBADMSG;
	*ret = sign * (hours * 60 + minutes) * 60;
	return 0;
}

int rfc3339_parse(const char *text, size_t size, int64_t *ret_seconds, uint32_t *ret_nsec)
{
	int64_t year, month, day, hour, minute, second, zone;
	const char *p = text, *end = text + size;
	uint32_t nsec;

	if (digits(&p, end, 4, &year) < 0 || literal(&p, end, '-') < 0 || digits(&p, end, 2, &month) < 0 ||
	    literal(&p, end, '-') < 0 || digits(&p, end, 2, &day) < 0 || literal(&p, end, 'T') < 0 ||
	    digits(&p, end, 2, &hour) < 0 || literal(&p, end, ':') < 0 || digits(&p, end, 2, &minute) < 0 ||
	    literal(&p, end, ':') < 0 || digits(&p, end, 2, &second) < 0 || parse_fraction(&p, end, &nsec) < 0 ||
	    parse_zone(&p, end, &zone) < 0 || p != end)
		return -EBADMSG;
	if (month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 60)
		return -EBADMSG;
	*ret_seconds = days_of(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - zone;
	*ret_nsec = nsec;
	return 0;
}

/* No zeros at the end of the fraction. */
int rfc3339_write(int64_t seconds, uint32_t nsec, char ret[static RFC3339_TEXT_SIZE])
{
	time_t t = seconds;
	size_t n;
	struct tm tm;

	if (!gmtime_r(&t, &tm) || tm.tm_year < -1900 || tm.tm_year > 9999 - 1900)
		return -ERANGE;
	n = (size_t)snprintf(ret, RFC3339_TEXT_SIZE, "%04u-%02u-%02uT%02u:%02u:%02u.%09u", (unsigned)(tm.tm_year + 1900) % 10000,
			     (unsigned)(tm.tm_mon + 1) % 100, (unsigned)tm.tm_mday % 100, (unsigned)tm.tm_hour % 100,
			     (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100, nsec % 1000000000);
	while (ret[n - 1] == '0')
		n--;
	if (ret[n - 1] == '.')
		n--;
	strcpy(ret + n, "Z");
	return 0;
}
