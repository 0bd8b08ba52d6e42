/*
 * driver.c
 *	  Gives each parser inputs that are made from its corpus by a seed.
 *
 * fuzz CORPUS DIRECTORY N SEED [TARGET]: all files of CORPUS/TARGET as they
 * are, then N inputs. An input that a sanitizer objects to is kept in DIRECTORY.
 */
#include "sanitize.h"

#include <dirent.h>
#include <fcntl.h>
#include <sanitizer/common_interface_defs.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_FILES 64
#define MOST_BYTES 65536

typedef struct Input
{
	size_t len;
	char bytes[MOST_BYTES];
} Input;

static Input corpus[MOST_FILES];
static int n_corpus;
static Input input;
static const char *directory;
static const char *target_name;
static uint64 state;

/* Splitmix64: small, and the same everywhere. */
static uint32
random_below(uint32 n)
{
	uint64 z = (state += UINT64CONST(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64CONST(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64CONST(0x94d049bb133111eb);
	return (uint32) ((z ^ (z >> 31)) % n);
}

/* Called as the process dies. */
static void
keep_input(void)
{
	char path[1024];
	int fd;

	snprintf(path, sizeof(path), "%s/crash-%s", directory, target_name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	if (fd >= 0 && write(fd, input.bytes, input.len) == (ssize_t) input.len)
		fprintf(stderr, "the input is in %s: add it to the corpus\n", path);
}

pg_noreturn static void
fail(const char *what, const char *path)
{
	fprintf(stderr, "%s %s: %s\n", what, path, strerror(errno));
	exit(2);
}

static void
load_file(const char *path)
{
	Input *file = &corpus[n_corpus];
	int fd = open(path, O_RDONLY);
	ssize_t len;

	if (fd < 0 || (len = read(fd, file->bytes, MOST_BYTES)) < 0)
		fail("cannot read", path);
	file->len = len;
	close(fd);
	n_corpus++;
}

static void
load_corpus(const char *directory_of_all)
{
	char path[1024];
	DIR *dir;
	struct dirent *entry;

	n_corpus = 0;
	snprintf(path, sizeof(path), "%s/%s", directory_of_all, target_name);
	dir = opendir(path);
	if (dir == NULL)
		fail("cannot open", path);
	while ((entry = readdir(dir)) != NULL)
	{
		if (entry->d_name[0] == '.')
			continue;
		if (n_corpus == MOST_FILES)
			fail("too many files in", path);
		snprintf(path, sizeof(path), "%s/%s/%s", directory_of_all, target_name, entry->d_name);
		load_file(path);
	}
	closedir(dir);
	if (n_corpus == 0)
		fail("nothing in", path);
}

/* Replace bytes of the input by others, as far as there is room. */
static void
replace(size_t at, size_t removed, const char *bytes, size_t len)
{
	if (input.len - removed + len > MOST_BYTES)
		return;
	memmove(input.bytes + at + len, input.bytes + at + removed, input.len - at - removed);
	memcpy(input.bytes + at, bytes, len);
	input.len += len - removed;
}

static void
mutate(const char *const *words)
{
	static char copy[MOST_BYTES];
	size_t at = random_below(input.len + 1);
	size_t rest = input.len - at;
	size_t len = rest == 0 ? 0 : 1 + random_below(Min(rest, 64));
	char byte = (char) random_below(256);
	const Input *other = &corpus[random_below(n_corpus)];
	int n_words = 0;

	while (words[n_words] != NULL)
		n_words++;
	switch (random_below(8))
	{
		case 0:
			if (rest > 0)
				input.bytes[at] ^= (char) (1 << random_below(8));
			break;
		case 1:
			if (rest > 0)
				input.bytes[at] = byte;
			break;
		case 2:
			replace(at, len, "", 0);
			break;
		case 3: /* what is there, again and again */
			memcpy(copy, input.bytes + at, len);
			for (int n = 1 << random_below(10); n > 0; n--)
				replace(at, 0, copy, len);
			break;
		case 4:
			replace(at, 0, &byte, 1);
			break;
		case 5:
			input.len = at;
			break;
		case 6:
			if (n_words > 0)
			{
				const char *word = words[random_below(n_words)];
				size_t removed = random_below(4);

				replace(at, Min(rest, removed), word, strlen(word));
			}
			break;
		default:
			if (other->len > 0)
			{
				size_t from = random_below(other->len);

				replace(at, len, other->bytes + from, Min(other->len - from, 256));
			}
	}
}

static void
run_target(const Target *target, const char *corpus_directory, long n)
{
	long refused = 0;

	n /= target->cost;
	target_name = target->name;
	load_corpus(corpus_directory);
	for (int i = 0; i < n_corpus; i++)
	{
		input = corpus[i];
		(void) run_guarded(target->run, input.bytes, input.len);
	}
	for (long i = 0; i < n; i++)
	{
		const Input *start = &corpus[random_below(n_corpus)];

		input.len = start->len;
		memcpy(input.bytes, start->bytes, start->len);
		for (int k = 1 + random_below(6); k > 0; k--)
			mutate(target->words);
		if (!run_guarded(target->run, input.bytes, input.len))
			refused++;
	}
	printf("%-14s %d files and %ld inputs, of which %ld were refused\n", target->name, n_corpus, n,
		   refused);
	fflush(stdout);
}

int
main(int argc, char **argv)
{
	uint64 seed;

	if (argc < 5)
	{
		fprintf(stderr, "usage: fuzz CORPUS DIRECTORY N SEED [TARGET]\n");
		return 2;
	}
	directory = argv[2];
	setenv("SANITIZE_DIR", directory, 1);
	seed = strtoull(argv[4], NULL, 10);
	printf("random seed: repeat with SEED=%s\n", argv[4]);
	__sanitizer_set_death_callback(keep_input);
	for (const Target *target = targets; target->name != NULL; target++)
	{
		/* a target's inputs do not depend on the others */
		state = seed;
		if (argc < 6 || strcmp(argv[5], target->name) == 0)
			run_target(target, argv[1], strtol(argv[3], NULL, 10));
	}
	return 0;
}
