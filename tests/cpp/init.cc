// The first program of a Linux kernel: runs /program with its output on the serial line, says there how it ended if that was
// unusual, and turns the machine off.
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <cstdio>

int main() {
  mount("proc", "/proc", "proc", 0, nullptr);
  mount("dev", "/dev", "devtmpfs", 0, nullptr);
  const int line = open("/dev/ttyS0", O_RDWR | O_NOCTTY);
  termios settings;
  tcgetattr(line, &settings);
  cfmakeraw(&settings);
  tcsetattr(line, TCSANOW, &settings);
  for (int file = 0; file < 3; ++file) dup2(line, file);
  const pid_t child = fork();
  if (child == 0) {
    execl("/program", "/program", nullptr);
    _exit(127);
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (status) std::printf("ended with %x\n", status);
  std::fflush(stdout);
  tcdrain(line);
  sleep(1);
  reboot(RB_POWER_OFF);
}
