// The limit for the bench: one thread, one socket each way, no parsing. A query is sent on under the
// number of its slot as its id; a reply with that id gets the client's own back. Usage: forwarder PORT TO
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static struct { struct sockaddr_in from; unsigned short id; } slots[65536];

static struct sockaddr_in at(const char *port) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return a;
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  struct sockaddr_in here = at(argv[1]), there = at(argv[2]), from;
  int clients = socket(AF_INET, SOCK_DGRAM, 0), upstream = socket(AF_INET, SOCK_DGRAM, 0);
  if (bind(clients, (void *)&here, sizeof here) || connect(upstream, (void *)&there, sizeof there)) return 1;
  struct pollfd fds[] = {{clients, POLLIN, 0}, {upstream, POLLIN, 0}};
  unsigned short next = 0, id;
  char m[65536];
  for (ssize_t n; poll(fds, 2, -1) > 0;) {
    for (socklen_t len = sizeof from; (n = recvfrom(clients, m, sizeof m, MSG_DONTWAIT, (void *)&from, &len)) >= 12;) {
      slots[next].from = from, memcpy(&slots[next].id, m, 2), memcpy(m, &next, 2), next++;
      send(upstream, m, n, 0);
    }
    for (; (n = recv(upstream, m, sizeof m, MSG_DONTWAIT)) >= 12;) {
      memcpy(&id, m, 2), memcpy(m, &slots[id].id, 2);
      sendto(clients, m, n, 0, (void *)&slots[id].from, sizeof from);
    }
  }
}
