# steep_repl: build, install, try out, test.  `make help` lists the targets.

EXTENSION = steep_repl
MODULE_big = steep_repl
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'.*/\1/p" steep_repl.control)

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:

# The environment of some systems has a NAME or PORT of its own; only the command line counts here.
# PGXS sets NAME, too, so that what was asked for is kept before that.
given = $(if $(filter command,$(firstword $(origin $1))),$($1))
server_name := $(call given,NAME)
server_port := $(call given,PORT)
server_conf := $(call given,CONF)
sanitize_n := $(or $(call given,N),10000)
sanitize_seed := $(or $(call given,SEED),$(shell date +%s))

# These goals must work on a machine without any PostgreSQL.
without_pg = help clean distclean format node_modules bundle docs image test-image cli npm dist deb test-packages
needs_pg := $(if $(MAKECMDGOALS),$(filter-out $(without_pg),$(MAKECMDGOALS)),all)

BUILT = build/plv8 build/pljs build/stage build/tools build/regress build/sanitize build/settings build/cli build/module build/dist build/deb build/packages build/steep-repl-*.tgz
c_files := $(sort $(wildcard bgworker-c/*.c bgworker-c/*/*.c))
c_headers := $(wildcard bgworker-c/*/*.h)
OBJS := $(c_files:.c=.o)
npm_stamp = node_modules/.package-lock.json
bin = node_modules/.bin
cli = build/cli/steep-repl.cjs
# A release has it in a folder of its own: nothing that JavaScript is built with is needed then.
release = $(wildcard generated)
bundle = $(or $(release),build)/$(JS)/steep_repl--$(EXTVERSION)
# the predecessor's, which was never called otherwise
from_old = $(or $(release),build)/$(JS)/steep_repl--0.1.0--$(EXTVERSION).sql

ifneq ($(needs_pg),)
override PG_CONFIG := $(shell PG_CONFIG='$(PG_CONFIG)' JS='$(call given,JS)' scripts/find-pg.sh)
ifeq ($(PG_CONFIG),)
$(error no usable PostgreSQL 18, see above)
endif
export PG_CONFIG

# The JavaScript language that the bundle is built for: PL/V8 where there is one, else PL/JS.
extensions := $(shell $(PG_CONFIG) --sharedir)/extension
ENGINES := $(foreach e,plv8 pljs,$(if $(wildcard $(extensions)/$e.control),$e))
JS ?= $(firstword $(ENGINES))
ifeq ($(JS),)
$(error steep_repl needs PL/V8 or PL/JS, but neither plv8.control nor pljs.control is in $(extensions))
endif
ifeq ($(filter plv8 pljs,$(JS)),)
$(error JS=$(JS): it is plv8 or pljs)
endif

stage = $(CURDIR)/build/stage/$(JS)
jobs := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)

DATA = $(sort $(wildcard sql/upgrade/steep_repl--*--*.sql))
$(if $(release),DATA,DATA_built) += $(bundle).sql $(bundle).control $(from_old)

# The server's headers, and every SQL-callable function, have parameters that go unused.
# Tables of actions leave out the members that an action does not need.
PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter -Wno-missing-field-initializers
# Warnings stop those who work on steep_repl, not those who install it with a newer compiler.
PG_CFLAGS += $(if $(wildcard .git),-Werror)
PG_CPPFLAGS = -Ibgworker-c -DSTEEP_REPL_VERSION=\"$(EXTVERSION)\" -I$(shell $(PG_CONFIG) --includedir)
SHLIB_LINK = -L$(shell $(PG_CONFIG) --libdir) -lpq -lzstd -llz4 -lz -lpthread

# A PostgreSQL outside of the system's directories may have brought these libraries along.
prefix_include := $(patsubst %/,%,$(dir $(shell $(PG_CONFIG) --includedir)))
ifneq ($(wildcard $(prefix_include)/zstd.h),)
PG_CPPFLAGS += -I$(prefix_include)
endif

REGRESS = $(patsubst test/regress/sql/%.sql,%,$(sort $(wildcard test/regress/sql/*.sql)))
REGRESS_OPTS = --inputdir=test/regress --outputdir=build/regress
EXTRA_CLEAN = $(BUILT)

# Bitcode would need the clang that PostgreSQL was built with, and the shim has nothing to inline.
override with_llvm := no
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)
override with_llvm := no

# ---- C

# Written anew only when its content changes: another server or other flags compile everything again.
$(shell mkdir -p build; \
	echo '$(shell $(PG_CONFIG) --version) $(PG_CONFIG) $(CC) $(CPPFLAGS) $(CFLAGS)' >build/settings.new; \
	cmp -s build/settings.new build/settings || cp build/settings.new build/settings; \
	rm build/settings.new)

$(OBJS): $(c_headers) steep_repl.control build/settings

# ---- an installed copy to run from, which needs no rights; servers that run from it see it whole

$(stage)/.done: $(shlib) $(DATA) $(DATA_built) steep_repl.control
	@rm -rf $(stage)
	@$(MAKE) -s --no-print-directory install JS=$(JS) NAME=$(MODULE_big) DESTDIR=$(stage)
	@touch $@

# What is compiled is said, with how much of it there is; files by as many processes as there are cores.
.PHONY: stage
stage: $(if $(release),,$(npm_stamp))
	@to_do=$$($(MAKE) -n $(OBJS) JS=$(JS) | grep -c ' -c ' || true); \
	run="$(MAKE) -s --no-print-directory -j$(jobs) $(stage)/.done JS=$(JS)"; \
	if [ $$to_do -gt 5 ]; then \
		scripts/with-notice.sh "compiling $$to_do files of C, up to half a minute" $$run; \
	else $$run; fi

# ---- servers to try it out on

.PHONY: server psql stop demo pg-env
server: export PORT := $(server_port)
server: export CONF := $(server_conf)
server:
	@$(MAKE) -s --no-print-directory stage JS=$(JS) NAME=$(MODULE_big)
	@JS=$(JS) scripts/server.sh start $(or $(server_name),a)

psql:
	@scripts/server.sh psql $(or $(server_name),a) $(ARGS)

stop:
	@scripts/server.sh stop $(server_name)

demo:
	@$(MAKE) -s --no-print-directory stage cli JS=$(JS) NAME=$(MODULE_big)
	@JS=$(JS) scripts/demo.sh

pg-env:
	@printf 'export PATH="%s:$$PATH"\nexport PG_CONFIG="%s"\n' "$(bindir)" "$(PG_CONFIG)"

# ---- functions in C for tests only, linked with the files of the shim that they call

module_sources := $(wildcard test/module/*.c)
test_module := build/module/toc_module.so
$(test_module): $(module_sources) $(OBJS)
	@mkdir -p $(@D)
	@$(CC) $(CPPFLAGS) $(CFLAGS) $(CFLAGS_SL) -shared -o $@ $(module_sources) \
		$(filter-out bgworker-c/steep_repl.o,$(OBJS)) $(LDFLAGS) $(SHLIB_LINK)

# ---- tests

.PHONY: test regress sanitize soak bench
# Unit tests know no engine and run once; the others run on each one there is.
test: $(npm_stamp) $(cli)
	@$(MAKE) -s --no-print-directory $(test_module) NAME=$(MODULE_big)
	@status=0; unit='--project unit'; \
	for engine in $(if $(filter command\ line,$(origin JS)),$(JS),$(ENGINES)); do \
		$(MAKE) -s --no-print-directory stage JS=$$engine || exit 1; \
		echo "== tests on $$engine"; \
		STEEP_ENGINE=$$engine $(bin)/vitest run $$unit --project integration \
			--reporter=default --reporter=json --outputFile.json=build/test-$$engine.json \
			$(ARGS) || status=1; \
		unit=; \
	done; exit $$status

# installcheck against a server of our own
regress:
	@$(MAKE) -s --no-print-directory stage JS=$(JS) NAME=$(MODULE_big)
	@JS=$(JS) scripts/regress.sh

soak: $(npm_stamp)
	@$(MAKE) -s --no-print-directory stage JS=$(JS) NAME=$(MODULE_big)
	@STEEP_ENGINE=$(JS) $(bin)/vitest run --config test/soak/vitest.config.ts $(ARGS)

# Parsers of what others wrote, outside of a server, each allocation with an end that the sanitizer sees.
# Without -fwrapv: where the server relies on it, our parsers have no reason to.
parsers = answer_read bytebuffer codec copy_escape digest image_read jsonb_parse manifest_fields \
	manifest_parse manifest_read number_parse numeric_format owned_fd row_fields time_parse toc toc_read \
	toc_statement toc_write value_parse
fuzz_sources = $(sort $(wildcard test/sanitize/*.c)) $(foreach p,$(parsers),$(filter %/$(p).c,$(c_files)))
fuzz_flags = -std=gnu11 -g -O1 -fno-strict-aliasing -fno-omit-frame-pointer -fsanitize=address,undefined \
	-fno-sanitize-recover=all -Wall -Wextra -Wno-unused-parameter -Werror
common_libraries = $(foreach l,pgcommon pgport,$(firstword $(wildcard $(pkglibdir)/lib$l.a $(libdir)/lib$l.a)))

build/sanitize/fuzz: $(fuzz_sources) $(wildcard test/sanitize/*.h) $(c_headers) $(c_files) build/settings
	@mkdir -p $(@D)
	@$(CC) $(fuzz_flags) $(CPPFLAGS) -o $@ $(fuzz_sources) $(common_libraries) -lm -Wl,-z,muldefs

sanitize: build/sanitize/fuzz
	@ASAN_OPTIONS=detect_leaks=0 build/sanitize/fuzz test/sanitize/corpus build/sanitize $(sanitize_n) $(sanitize_seed) $(ARGS)

bench:
	@$(MAKE) -s --no-print-directory stage JS=$(JS) NAME=$(MODULE_big)
	@JS=$(JS) bench/run.sh $(ARGS)

# ---- style

.PHONY: lint compile-19
lint: $(npm_stamp)
	@scripts/lint.sh
	@$(if $(OBJS),$(CC) $(CPPFLAGS) $(CFLAGS) -Werror -fsyntax-only $(c_files) $(module_sources))
	@$(MAKE) -s --no-print-directory compile-19

# The shim with the headers of PostgreSQL 19, where Debian's can be had: fetched, not installed.
other_headers = -I$(includedir_server) -I$(includedir_internal)
flags_19 = -Wimplicit-fallthrough=5 -Wstrict-prototypes -Wold-style-declaration -Wold-style-definition
compile-19:
	@headers=$$(scripts/fetch-headers.sh 19 build/pg19); case $$? in \
		0) $(CC) -I$$headers $(filter-out $(other_headers),$(CPPFLAGS)) $(CFLAGS) $(flags_19) -Werror -fsyntax-only $(c_files) ;; \
		77) echo "compile-19: skipped, for the reason above" >&2 ;; \
		*) exit 1 ;; \
	esac

else

JS ?= pljs

.PHONY: clean
clean:
	rm -rf $(BUILT) $(OBJS) $(addprefix $(MODULE_big).,so dylib)

endif

# ---- SQL: the hand-written files and the bundle of TypeScript

ifeq ($(release),)
$(bundle).control $(from_old): $(bundle).sql

$(bundle).sql: build/tools/build.mjs steep_repl.control $(sort $(wildcard sql/*/*.sql)) \
		$(shell find plv8 -type f -not -path 'plv8/build/*' 2>/dev/null)
	@mkdir -p $(@D)
	node build/tools/build.mjs --engine $(JS) --version $(EXTVERSION) --out $(@D)
	@touch $(bundle).control $(from_old)

build/tools/build.mjs: $(npm_stamp) $(wildcard plv8/build/*) $(shell find plv8/api plv8/shared -type f 2>/dev/null)
	$(bin)/esbuild plv8/build/build.ts --bundle --platform=node --format=esm --external:esbuild \
		--log-level=warning --outfile=$@

endif

.PHONY: bundle docs
bundle: $(bundle).sql

# docs/functions.md, from the declarations and sql/comments/
docs: $(npm_stamp)
	@mkdir -p build/tools
	@$(bin)/esbuild plv8/build/docs.ts --bundle --platform=node --format=esm --external:esbuild \
		--log-level=warning --outfile=build/tools/docs.mjs
	@node build/tools/docs.mjs

# ---- what is released: a zip of the sources and the generated SQL, Debian's package, the command line for npm

dist = build/dist/steep_repl-$(EXTVERSION).zip

.PHONY: dist deb npm test-packages
dist: $(npm_stamp)
	@$(foreach e,plv8 pljs,$(MAKE) -s --no-print-directory bundle JS=$e &&) scripts/dist.sh $(EXTVERSION) $(dist)

# on Debian, with what debian/control says
deb: dist
	@rm -rf build/deb
	@mkdir -p build/deb
	@unzip -q $(dist) -d build/deb
	@cd build/deb/steep_repl-$(EXTVERSION) && dpkg-buildpackage -us -uc -b

test-packages: dist
	@scripts/test-packages.sh $(dist)

# ---- the container image

.PHONY: image test-image
image test-image: export VERSION := $(EXTVERSION)
image test-image: export BASE := $(call given,BASE)
image test-image: export TAG := $(call given,TAG)
image test-image: export JS := $(JS)
image:
	@scripts/with-engine.sh scripts/image.sh

test-image: export ARGS := $(ARGS)
test-image: $(npm_stamp)
	@scripts/test-image.sh

.PHONY: format distclean help node_modules cli
format: $(npm_stamp)
	@scripts/lint.sh --fix

# also what was fetched, and the test servers' data
distclean:
	scripts/server.sh stop
	$(MAKE) clean
	rm -rf build node_modules

node_modules: $(npm_stamp)

# the command line: one file, and the package.json to install it by
cli: $(cli)

$(cli): $(npm_stamp) steep_repl.control $(shell find cli -type f 2>/dev/null)
	@node cli/build.mjs

# the same as a package: npm install -g build/steep-repl-VERSION.tgz
npm: $(cli)
	@npm pack ./build/cli --pack-destination build --loglevel=error --no-update-notifier | sed 's|^|build/|'

$(npm_stamp): package.json package-lock.json
	@command -v npm >/dev/null || { echo "steep_repl is built with Node.js 20 or newer and npm: install them first" >&2; exit 1; }
	@scripts/with-notice.sh "installing npm packages, about half a minute" \
		npm ci --loglevel=error --no-audit --no-fund --no-update-notifier
	@touch $@

help:
	@echo 'Build and install'
	@echo '  make                   build the library and the extension script'
	@echo '  make install           install them into the PostgreSQL that PG_CONFIG names (DESTDIR is honoured)'
	@echo '  make installcheck      run the regression tests on a running server'
	@echo '  make cli               bundle the command line (then npm install -g ./build/cli)'
	@echo '  make clean             remove what was built; distclean: also what was fetched'
	@echo 'Release'
	@echo '  make dist              a zip of the sources and the generated SQL, which installs without Node.js'
	@echo "  make deb               Debian's package, of that zip"
	@echo '  make npm               the command line as an npm package, with its manual page'
	@echo "  make test-packages     install the zip and Debian's package in containers"
	@echo 'Try it out'
	@echo '  make server NAME=a PORT=5601 CONF="max_worker_processes=32"'
	@echo '                         start a server with steep_repl (or restart it, data is kept)'
	@echo '  make psql NAME=a       psql on it (ARGS="-c ..." is passed on)'
	@echo '  make stop NAME=a       stop it; without NAME: all of them'
	@echo '  make demo              make a pair of two servers, cut the line, repair it'
	@echo '  eval "$$(make pg-env)"  put the programs of this PostgreSQL first on PATH'
	@echo 'Develop'
	@echo '  make test              unit and integration tests (ARGS="test/unit/..." runs some)'
	@echo '  make regress           installcheck on a server of its own'
	@echo '  make sanitize          the C parsers under sanitizers, N=10000 inputs for each from a SEED'
	@echo '  make soak              the long tests'
	@echo '  make bench             measurements'
	@echo '  make image             build the container image steep_repl:dev (TAG=..., BASE=... what it is made from)'
	@echo '  make test-image        build it and test it, in containers'
	@echo '  make docs              write docs/functions.md anew, from the declarations and sql/comments/'
	@echo '  make lint, format      check the style, repair it'
	@echo '  make compile-19        compile the library with the headers of PostgreSQL 19 (part of lint)'
	@echo 'Variables: PG_CONFIG=... which PostgreSQL 18, JS=plv8|pljs which JavaScript language'
