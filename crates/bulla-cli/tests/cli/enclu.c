/* A program that knows nothing of bulla: static, and with an ENCLU of its own. Each argument is something that it does; what
   comes of it is a line. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

struct operands {
    unsigned char request[512], target[512], report[512];
    unsigned char data[128], key[16];
} __attribute__((aligned(512)));

static unsigned enclu(unsigned leaf, void *rbx, void *rcx, void *rdx) {
    uint64_t rax = leaf;
    __asm__ volatile(".byte 0x0F, 0x01, 0xD7" : "+a"(rax) : "b"(rbx), "c"(rcx), "d"(rdx) : "memory", "cc");
    return rax;
}

static void print(const char *what, unsigned status, const unsigned char *bytes, int length) {
    char line[256];
    int end = sprintf(line, "%s %u ", what, status);
    for (int i = 0; i < length; i++) end += sprintf(line + end, "%02x", bytes[i]);
    line[end++] = '\n';
    if (write(1, line, end) != end) abort();
}

/* The report of this program for itself, whose CPUSVN every key is asked for with. */
static void report(struct operands *o) { enclu(0, o->target, o->data, o->report); }

static struct operands first;

static void key(const char *what) {
    struct operands o;
    memset(&o, 0, sizeof o);
    o.request[0] = 4; /* SEAL */
    o.request[2] = 1; /* MRENCLAVE */
    memcpy(o.request + 8, first.report, 16);
    o.request[24] = 3; /* INIT and DEBUG */
    memset(o.key, 0xAA, 16);
    unsigned status = enclu(1, o.request, o.key, 0);
    print(what, status, o.key, 16);
}

static void *in_thread(void *unused) { key("key"); return unused; }

static void on_signal(int number) {
    char line[32];
    if (write(1, line, sprintf(line, "handled %d\n", number)) < 0) abort();
    if (number == SIGILL || number == SIGSEGV) _exit(3);
}

int main(int count, char **arguments) {
    if (count > 1 && strcmp(arguments[1], "key-get")) report(&first); /* a guest has no ENCLU */
    first.request[0] = 4, first.request[2] = 1; /* of the lowest CPUSVN */
    for (int at = 1; at < count; at++) {
        const char *what = arguments[at];
        if (!strcmp(what, "key")) key("key");
        if (!strcmp(what, "report")) report(&first), print("mrenclave", 0, first.report + 64, 32);
        if (!strcmp(what, "cpusvn")) report(&first), print("cpusvn", 0, first.report, 16);
        if (!strcmp(what, "key-get")) { /* a report for the versions, then TDG.MR.KEY.GET by Microsoft's command */
            unsigned char report[64 + 1024] = {0}, key[168] = {0};
            int guest = open("/dev/tdx_guest", O_RDWR);
            if (ioctl(guest, 0xC4405401, report)) abort();
            key[3] = 1, key[8] = 1, key[16] = 1; /* 128 bits, MRTD, DEBUG */
            memcpy(key + 32, report + 64 + 16, 16), memcpy(key + 48, report + 64 + 264, 16);
            print("key-get", ioctl(guest, 0xC0A85405, key) ? errno : 0, key + 160, 8);
        }
        if (!strcmp(what, "gramine-key")) { /* what Gramine asks for, by its documented defaults */
            struct operands o;
            memset(&o, 0, sizeof o);
            o.request[0] = 4, o.request[2] = 1;
            memcpy(o.request + 4, first.report + 258, 2), memcpy(o.request + 8, first.report, 16);
            memcpy(o.request + 24, "\xff\xff\xff\xff\xff\xff\xff\xff\x1b\xff\xf9\xff\xff\xff\xff\xff", 16);
            memset(o.request + 72, 0xFF, 4);
            unsigned status = enclu(1, o.request, o.key, 0);
            print(what, status, o.key, 16);
            FILE *file = fopen("/dev/attestation/keys/_sgx_mrenclave", "r");
            if (!file || fread(o.key, 1, 16, file) != 16) abort();
            print(what, 0, o.key, 16);
        }
        if (!strcmp(what, "verify")) print("verify", enclu(8, first.request, 0, 0), 0, 0);
        if (!strcmp(what, "threads")) {
            pthread_t threads[8];
            for (int i = 0; i < 8; i++) if (pthread_create(threads + i, 0, in_thread, 0)) abort();
            for (int i = 0; i < 8; i++) pthread_join(threads[i], 0);
        }
        if (!strcmp(what, "fork")) {
            pid_t child = fork();
            if (!child) key("key"), _exit(0);
            waitpid(child, 0, 0);
        }
        if (!strcmp(what, "exec")) execl("/proc/self/exe", arguments[0], "key", (char *)0);
        if (!strcmp(what, "stop")) { /* its parent hears of the stop, and lets it go on */
            pid_t child = fork();
            int status = 0;
            if (!child) raise(SIGSTOP), _exit(5);
            if (waitpid(child, &status, WUNTRACED) != child || !WIFSTOPPED(status)) abort();
            kill(child, SIGCONT);
            waitpid(child, &status, 0);
            print("stopped", WEXITSTATUS(status), 0, 0);
        }
        if (!strcmp(what, "handle")) {
            signal(SIGILL, on_signal), signal(SIGSEGV, on_signal), signal(SIGRTMIN + 5, on_signal);
        }
        if (!strcmp(what, "real-time")) raise(SIGRTMIN + 5);
        if (!strcmp(what, "undefined")) __asm__ volatile("ud2");
        if (!strcmp(what, "unaligned")) enclu(1, first.request + 16, first.key, 0);
        if (!strcmp(what, "read-only")) enclu(1, first.request, (void *)((uintptr_t)"constant" & ~15ull), 0);
        if (!strcmp(what, "deaf")) {
            sigset_t all;
            sigfillset(&all), sigprocmask(SIG_BLOCK, &all, 0);
        }
        if (!strcmp(what, "raise")) raise(SIGILL);
    }
    return 0;
}
