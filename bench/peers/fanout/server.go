package main

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	xds "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/durationpb"
)

const endpointsPerService = 10

// settle is how long the last ACKs of a start may be under way.
const settle = time.Second

// oneForAll gives every node the same snapshot.
type oneForAll struct{}

func (oneForAll) ID(*core.Node) string { return "all" }

// runServer prints "serving ADDRESS"; "change K" on stdin changes one endpoint of service K,
// and "acked" tells that the last stream has ACKed that.
func runServer(services, streams int, perNode bool, with credentials.TransportCredentials) {
	var hash cache.NodeHash = oneForAll{}
	ids := []string{"all"}
	if perNode {
		hash, ids = cache.IDHash{}, nil
		for i := range streams {
			ids = append(ids, node(i).Id)
		}
	}
	snapshots := cache.NewSnapshotCache(true, hash, nil)
	world := newWorld(services)
	set := func() {
		for _, id := range ids {
			check(snapshots.SetSnapshot(context.Background(), id, world.snapshot()))
		}
	}
	set()
	acks := make(chan struct{}, 16*streams)
	counting := xds.CallbackFuncs{StreamDeltaRequestFunc: func(_ int64, r *discovery.DeltaDiscoveryRequest) error {
		if r.TypeUrl == resource.EndpointType && r.ResponseNonce != "" && r.ErrorDetail == nil {
			acks <- struct{}{}
		}
		return nil
	}}
	server := grpc.NewServer(grpc.Creds(with))
	discovery.RegisterAggregatedDiscoveryServiceServer(server, xds.NewServer(context.Background(), snapshots, counting))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	go server.Serve(listener)
	fmt.Println("serving", listener.Addr())
	settled := false
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		k, err := strconv.Atoi(strings.Fields(lines.Text())[1])
		check(err)
		if !settled { // the streams' first endpoints, of each start of the client, are not of a change
			time.Sleep(settle)
			for len(acks) > 0 {
				<-acks
			}
			settled = true
		}
		world.change(k)
		set()
		wait(acks, streams)
		fmt.Println("acked")
	}
}

func wait(acks <-chan struct{}, n int) {
	for range n {
		<-acks
	}
}

// world is what is served: the same services and endpoints as on our side.
type world struct {
	version             int
	clusters, endpoints []types.Resource
	unhealthy           map[int]bool
}

func newWorld(services int) *world {
	w := &world{unhealthy: map[int]bool{}}
	for k := range services {
		w.clusters = append(w.clusters, edsCluster(k))
		w.endpoints = append(w.endpoints, assignment(k, false))
	}
	return w
}

func (w *world) change(k int) {
	w.unhealthy = maps.Clone(w.unhealthy)
	w.unhealthy[k] = !w.unhealthy[k]
	w.endpoints = slices.Clone(w.endpoints)
	w.endpoints[k] = assignment(k, w.unhealthy[k])
}

func (w *world) snapshot() *cache.Snapshot {
	w.version++
	made, err := cache.NewSnapshot(strconv.Itoa(w.version), map[resource.Type][]types.Resource{
		resource.ClusterType: w.clusters, resource.EndpointType: w.endpoints})
	check(err)
	return made
}

func edsCluster(k int) *cluster.Cluster {
	ads := &core.ConfigSource{ConfigSourceSpecifier: &core.ConfigSource_Ads{Ads: &core.AggregatedConfigSource{}}}
	return &cluster.Cluster{
		Name:                 name(k),
		ClusterDiscoveryType: &cluster.Cluster_Type{Type: cluster.Cluster_EDS},
		EdsClusterConfig:     &cluster.Cluster_EdsClusterConfig{EdsConfig: ads},
		ConnectTimeout:       durationpb.New(2 * time.Second),
	}
}

// assignment returns a service's endpoints, with the fields that ours have; the first may be unhealthy.
func assignment(k int, unhealthy bool) *endpoint.ClusterLoadAssignment {
	var all []*endpoint.LbEndpoint
	for i := range endpointsPerService {
		n := k*endpointsPerService + i
		health := core.HealthStatus_HEALTHY
		if unhealthy && i == 0 {
			health = core.HealthStatus_UNHEALTHY
		}
		address := &core.SocketAddress{
			Address:       fmt.Sprintf("10.%d.%d.%d", n>>16, n>>8&255, n&255),
			PortSpecifier: &core.SocketAddress_PortValue{PortValue: 15006},
		}
		all = append(all, &endpoint.LbEndpoint{
			HealthStatus: health,
			HostIdentifier: &endpoint.LbEndpoint_Endpoint{Endpoint: &endpoint.Endpoint{
				Hostname: fmt.Sprintf("%s-v1-%d", name(k), i),
				Address:  &core.Address{Address: &core.Address_SocketAddress{SocketAddress: address}},
			}},
		})
	}
	return &endpoint.ClusterLoadAssignment{
		ClusterName: name(k),
		Endpoints:   []*endpoint.LocalityLbEndpoints{{Locality: &core.Locality{}, LbEndpoints: all}},
	}
}

func name(k int) string { return fmt.Sprintf("svc-%d", k) }
