/* State by layer, a smoothed rate, and the drawing of at most a screenful of bars. */
#include "cli/progress.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/limits.h"
#include "cli/human.h"

#define DRAW_EVERY_MS 100
#define FIRST_DRAW_MS 150 /* what is faster needs no bar */
#define RATE_EVERY_MS 250
#define BARS_MAX 12
#define COLUMNS_MAX 160u

struct layer {
	enum progress_state state;
	uint64_t done, total;
	char name[13]; /* of the digest: 12 hex digits, as docker shows them */
};

struct progress {
	enum progress_mode mode;
	struct layer layers[LIMIT_LAYERS];
	size_t n_layers;
	int64_t started_ms, drawn_ms; /* -1: not yet */
	int64_t rate_ms;	      /* when the rate was last taken */
	uint64_t rate_done;
	double rate; /* bytes a second; 0: not known yet */
	unsigned int lengths[BARS_MAX + 1]; /* columns of each line on the screen */
	unsigned int n_lines;
};

enum progress_mode progress_mode_of_stderr(bool quiet, bool lines)
{
	const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");

	if (quiet)
		return PROGRESS_NONE;
	if (!isatty(STDERR_FILENO) || !term || !*term || strcmp(term, "dumb") == 0 || (no_color && *no_color))
		return lines ? PROGRESS_LINES : PROGRESS_NONE;
	return PROGRESS_BARS;
}

int progress_new(enum progress_mode mode, struct progress **ret)
{
	struct progress *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->mode = mode;
	p->started_ms = p->drawn_ms = -1;
	*ret = p;
	return 0;
}

static int64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void screen_size(unsigned int *columns, unsigned int *rows)
{
	struct winsize w;

	*columns = 80;
	*rows = 24;
	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col && w.ws_row) {
		*columns = w.ws_col;
		*rows = w.ws_row;
	}
}

static void write_out(struct bytes *out)
{
	if (out->size > 0)
		(void)fd_write_full(STDERR_FILENO, out->data, out->size);
}

void progress_free(struct progress **p)
{
	if (*p && (*p)->n_lines > 0) {
		_cleanup_(bytes_free) struct bytes out = {0};
		unsigned int columns, rows;

		screen_size(&columns, &rows);
		if (progress_clear(*p, columns, &out) == 0)
			write_out(&out);
	}
	free(*p);
	*p = NULL;
}

static void totals(const struct progress *p, uint64_t *done, uint64_t *total)
{
	*done = *total = 0;
	for (size_t i = 0; i < p->n_layers; i++) {
		if (p->layers[i].state == PROGRESS_PRESENT)
			continue;
		*done += p->layers[i].done;
		*total += p->layers[i].total;
	}
}

/* Two thirds old, one third new: steady enough to read, quick enough to follow. */
static void take_rate(struct progress *p, int64_t now_ms)
{
	uint64_t done, total;
	double fresh;

	totals(p, &done, &total);
	if (p->rate_ms == 0 || done < p->rate_done) {
		p->rate_ms = now_ms;
		p->rate_done = done;
		return;
	}
	if (now_ms - p->rate_ms < RATE_EVERY_MS)
		return;
	fresh = (double)(done - p->rate_done) * 1000 / (double)(now_ms - p->rate_ms);
	p->rate = p->rate > 0 ? (p->rate * 2 + fresh) / 3 : fresh;
	p->rate_ms = now_ms;
	p->rate_done = done;
}

static int line_of(const struct progress *p, const struct progress_event *e, const struct layer *l,
		   struct bytes *out)
{
	char size[HUMAN_SIZE];

	if (p->mode != PROGRESS_LINES)
		return 0;
	if (e->state == PROGRESS_STREAMING && l->state == PROGRESS_WAITING)
		return bytes_printf(out, "layer %zu/%zu %s: fetching %s\n", e->layer + 1, e->n_layers, l->name,
				    human_bytes(e->total, size));
	if (e->state == PROGRESS_DONE && l->state != PROGRESS_DONE)
		return bytes_printf(out, "layer %zu/%zu %s: here, %s\n", e->layer + 1, e->n_layers, l->name,
				    human_bytes(e->total, size));
	return 0;
}

int progress_take(struct progress *p, const struct progress_event *event, int64_t now_ms, struct bytes *out)
{
	struct layer *l;
	const char *hex = event->digest;
	int r;

	if (event->layer >= LIMIT_LAYERS || event->n_layers > LIMIT_LAYERS || event->layer >= event->n_layers)
		return 0;
	l = &p->layers[event->layer];
	if (event->n_layers > p->n_layers)
		p->n_layers = event->n_layers;
	if (hex && strchr(hex, ':'))
		hex = strchr(hex, ':') + 1;
	snprintf(l->name, sizeof(l->name), "%.12s", hex ? hex : "");
	r = line_of(p, event, l, out);
	if (r < 0)
		return r;
	l->state = event->state;
	l->total = event->total;
	l->done = event->done > event->total ? event->total : event->done;
	if (p->started_ms < 0 && event->state == PROGRESS_STREAMING)
		p->started_ms = now_ms;
	take_rate(p, now_ms);
	return 0;
}

/* "name          [=====>      ]  12.3 MB / 45.6 MB": as much of it as fits. */
static int draw_line(const char *name, uint64_t done, uint64_t total, const char *tail, unsigned int columns,
		     struct bytes *out)
{
	char text[COLUMNS_MAX + 1], bar[COLUMNS_MAX + 1], a[HUMAN_SIZE], b[HUMAN_SIZE], numbers[3 * HUMAN_SIZE];
	unsigned int width, filled;
	int r;

	snprintf(numbers, sizeof(numbers), "%8s / %s", human_bytes(done, a), human_bytes(total, b));
	/* The name takes 12 columns, the numbers 20; spaces and brackets 6. */
	width = columns > 12 + 20 + 6 + (unsigned int)strlen(tail) + 8
			? columns - 12 - 20 - 6 - (unsigned int)strlen(tail) : 0;
	if (width > 40)
		width = 40;
	if (width == 0) {
		r = snprintf(text, sizeof(text), "%-12s %3u%%", name,
			     total ? (unsigned int)((double)done * 100 / (double)total) : 0);
	} else {
		filled = total ? (unsigned int)((double)done / (double)total * width) : 0;
		for (unsigned int i = 0; i < width; i++)
			bar[i] = i < filled ? '=' : i == filled ? '>' : ' ';
		bar[width] = '\0';
		r = snprintf(text, sizeof(text), "%-12s [%s] %s%s", name, bar, numbers, tail);
	}
	if (r > 0 && (unsigned int)r > columns)
		text[columns] = '\0';
	return bytes_printf(out, "%s\n", text);
}

int progress_clear(struct progress *p, unsigned int columns, struct bytes *out)
{
	unsigned int up = 0;

	if (p->n_lines == 0)
		return 0;
	/* A terminal that became narrower has wrapped our lines: each may be several rows now. */
	for (unsigned int i = 0; i < p->n_lines; i++)
		up += p->lengths[i] > columns && columns ? (p->lengths[i] + columns - 1) / columns : 1;
	p->n_lines = 0;
	return bytes_printf(out, "\r\033[%uA\033[J", up);
}

static int draw_total(const struct progress *p, unsigned int columns, struct bytes *out)
{
	char tail[96] = "", rate[HUMAN_SIZE], left[HUMAN_SIZE];
	uint64_t done, total;

	totals(p, &done, &total);
	if (p->rate > 0 && done < total)
		snprintf(tail, sizeof(tail), "  %s/s, %s left", human_bytes((uint64_t)p->rate, rate),
			 human_duration((uint64_t)((double)(total - done) / p->rate) + 1, left));
	return draw_line("all layers", done, total, tail, columns, out);
}

static unsigned int count_lines(const struct bytes *b, size_t from, unsigned int lengths[static BARS_MAX + 1])
{
	unsigned int n = 0, length = 0;

	for (size_t i = from; i < b->size && n <= BARS_MAX; i++) {
		if (b->data[i] != '\n') {
			length++;
			continue;
		}
		lengths[n++] = length;
		length = 0;
	}
	return n;
}

int progress_draw(struct progress *p, unsigned int columns, unsigned int rows, int64_t now_ms, struct bytes *out)
{
	unsigned int room = rows > 3 ? rows - 3 : 1, shown = 0;
	size_t from;
	int r;

	/* The last column stays free: some terminals wrap when it is written. */
	columns = columns > COLUMNS_MAX ? COLUMNS_MAX : columns;
	r = progress_clear(p, columns, out);
	if (r < 0)
		return r;
	columns = columns > 1 ? columns - 1 : 1;
	from = out->size;
	for (size_t i = 0; i < p->n_layers && shown < BARS_MAX && shown < room; i++) {
		const struct layer *l = &p->layers[i];

		if (l->state != PROGRESS_STREAMING)
			continue;
		r = draw_line(l->name, l->done, l->total, "", columns, out);
		if (r < 0)
			return r;
		shown++;
	}
	r = draw_total(p, columns, out);
	if (r < 0)
		return r;
	p->n_lines = count_lines(out, from, p->lengths);
	p->drawn_ms = now_ms;
	return 0;
}

int progress_update(struct progress *p, const struct progress_event *event)
{
	_cleanup_(bytes_free) struct bytes out = {0};
	int64_t now_ms = now();
	unsigned int columns, rows;
	int r;

	if (p->mode == PROGRESS_NONE)
		return 0;
	r = progress_take(p, event, now_ms, &out);
	if (r < 0)
		return r;
	if (p->mode == PROGRESS_BARS && p->started_ms >= 0 && now_ms - p->started_ms >= FIRST_DRAW_MS &&
	    (p->drawn_ms < 0 || now_ms - p->drawn_ms >= DRAW_EVERY_MS)) {
		screen_size(&columns, &rows);
		r = progress_draw(p, columns, rows, now_ms, &out);
		if (r < 0)
			return r;
	}
	write_out(&out);
	return 0;
}
